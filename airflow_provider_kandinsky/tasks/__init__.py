"""What operators and sensors share: the checks of their arguments, and their errors as Airflow expects them."""
