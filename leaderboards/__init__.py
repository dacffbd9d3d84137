"""Boards: measured runs by protocol, and the published table beside them, never mixed."""

from leaderboards.board import Board, BoardRow, Group, build_board

__all__ = ["Board", "BoardRow", "Group", "build_board"]
