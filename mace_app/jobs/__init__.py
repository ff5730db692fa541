"""Jobs: the workspace, run folders, the queue and the processes that outlive the browser. No torch here."""

from mace_app.jobs.analysis_folder import (
    AnalysisFolder,
    AnalysisProgress,
    AnalysisRequest,
    DataChoice,
    ModelChoice,
)
from mace_app.jobs.dataset_folder import DatasetFolder, DatasetInfo
from mace_app.jobs.errors import JobsError, QueueError, RunFolderError, WorkspaceError
from mace_app.jobs.failures import Cause, Failure, Suggestion
from mace_app.jobs.foundation_folder import (
    FoundationExport,
    FoundationFolder,
    FoundationInfo,
    FoundationProgress,
    FoundationRequest,
)
from mace_app.jobs.parity_file import Parity, ParityLabel
from mace_app.jobs.progress_writer import ProgressWriter
from mace_app.jobs.queue import Job, JobQueue
from mace_app.jobs.run_folder import Download, RunFolder
from mace_app.jobs.run_import import Imported
from mace_app.jobs.run_state import ACTIVE_STATES, FINAL_STATES, RESUMABLE_STATES, Progress, RunInfo
from mace_app.jobs.settings import WorkspaceSettings
from mace_app.jobs.workspace import Workspace

__all__ = [
    "ACTIVE_STATES",
    "FINAL_STATES",
    "RESUMABLE_STATES",
    "AnalysisFolder",
    "AnalysisProgress",
    "AnalysisRequest",
    "Cause",
    "DataChoice",
    "DatasetFolder",
    "DatasetInfo",
    "Download",
    "Failure",
    "FoundationExport",
    "FoundationFolder",
    "FoundationInfo",
    "FoundationProgress",
    "FoundationRequest",
    "Imported",
    "Job",
    "JobQueue",
    "JobsError",
    "ModelChoice",
    "Parity",
    "ParityLabel",
    "Progress",
    "ProgressWriter",
    "QueueError",
    "RunFolder",
    "RunFolderError",
    "RunInfo",
    "Suggestion",
    "Workspace",
    "WorkspaceError",
    "WorkspaceSettings",
]
