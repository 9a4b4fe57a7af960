"""What a run is worth: metrics, baseline, report."""
