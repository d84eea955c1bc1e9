"""The processes of a run: launching, meeting, supervising, and stopping them by signals."""
