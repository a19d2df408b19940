"""The GPU process: samples from the student, asks the service for marks, learns from them."""
