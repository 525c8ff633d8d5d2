"""The process that decodes: it loads what reads pictures, which must not be in the process of whoever runs a job."""
