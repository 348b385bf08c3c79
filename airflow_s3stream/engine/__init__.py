"""The input and output: HTTP sources, the S3 sink, workers. Never imports Airflow."""
