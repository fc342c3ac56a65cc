"""What is known of a backend, whatever it is: its name, and how it has fared lately."""

from overspill_gateway.core.ejection import Outlier
from overspill_gateway.core.tuning import TUNING, Tuning


class BackendState:
    """One replica or one hosted API; with its connections it is a subclass of theirs."""

    def __init__(self, served_by: str, tuning: Tuning = TUNING) -> None:
        self.served_by = served_by
        """``local/<pod>`` or ``hosted/<name>``, the same in every gateway."""
        self.outlier = Outlier(tuning)
        """Whether it rests after failures."""
