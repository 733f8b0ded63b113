"""Forecasts: parameters, operations, memory, time and money of a model before anything is spent. Arithmetic on shapes; no data."""
