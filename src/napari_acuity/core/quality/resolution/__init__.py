"""Resolution without a reference, and the error map beside it."""
