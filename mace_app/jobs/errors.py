"""Errors of this package. The text of each is a sentence a page or the command line can show as it is."""


class JobsError(Exception):
    """What is wrong, where, and what to do."""


class RunFolderError(JobsError):
    """A file of a run is missing or damaged, or a change does not fit the run's state."""


class WorkspaceError(JobsError):
    """A name, a dataset or a run is not what the workspace can work with."""


class QueueError(JobsError):
    """The queue's database cannot be read, or a job does not fit in it."""


class QueueDamaged(QueueError):
    """The database of the queue is no database any more, or holds nonsense."""


class DiskFull(JobsError):
    """There is no room to write down how something ended."""
