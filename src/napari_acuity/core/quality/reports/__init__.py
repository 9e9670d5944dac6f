"""Charts, tables and pages: what was measured, ready to be looked at."""
