"""What changes a sweep: submissions, calibrations, cancellations."""
