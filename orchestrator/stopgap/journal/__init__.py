"""Recorded traffic in files: TFRecord, PredictionLog, an index beside them, and asking it all again."""
