"""What runs in the worker process, the only place that imports torch. Nobody imports this package: it is started."""
