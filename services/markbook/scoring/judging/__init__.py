"""Has teachers mark samples whose truth is known, through the service's own pipeline, to measure
them.
"""
