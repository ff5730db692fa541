"""What a worker process or the command line runs over one folder."""
