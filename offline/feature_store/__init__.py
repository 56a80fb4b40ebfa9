"""The offline feature store: decisions as they were made, joined with their reactions, in partitioned Parquet."""
