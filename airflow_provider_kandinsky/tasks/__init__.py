"""What operators and sensors share: arguments, deferral, delivery, and errors as Airflow expects them."""
