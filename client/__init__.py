"""Client of a Trainsmith server: `from client import Trainsmith`."""

from client.errors import ApiError as ApiError
from client.errors import ConnectionFailed as ConnectionFailed
from client.errors import DigestMismatch as DigestMismatch
from client.errors import NotConfigured as NotConfigured
from client.errors import TrainsmithError as TrainsmithError
from client.errors import WaitTimeout as WaitTimeout
from client.trainsmith import Trainsmith as Trainsmith
