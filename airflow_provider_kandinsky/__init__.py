"""Apache Airflow provider for Kandinsky image generation on Segmind."""

__version__ = "0.1.0"
