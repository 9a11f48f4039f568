"""The service, free of Airflow: schemas, wire format, errors, polling and HTTP clients."""
