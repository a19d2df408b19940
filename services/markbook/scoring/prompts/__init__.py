"""What the teacher is shown: the rubric, the task, the samples."""
