"""A move on a chess board: the position after it. Notation is FEN and UCI, as Lichess writes them.

    play("8/P6k/8/8/8/8/8/K7 w - - 3 60", "a7a8q")  ->  "Q7/7k/8/8/8/8/8/K7 b - - 0 60"

Only what a move does is known here, not whether the rules allow it: puzzles are of real games. A
square is its name, "e4"; a board {square: piece}, white pieces in capitals.
"""

import re

FILES, RANKS = "abcdefgh", "12345678"
MOVE = re.compile("([a-h][1-8])([a-h][1-8])([qrbn]?)")
LOST = {"h1": "K", "a1": "Q", "h8": "k", "a8": "q", "e1": "KQ", "e8": "kq"}  # rights, once touched
CASTLING = {  # king's move: the right it needs, where the rook comes from and goes
    "e1g1": ("K", "h1", "f1"), "e1c1": ("Q", "a1", "d1"),
    "e8g8": ("k", "h8", "f8"), "e8c8": ("q", "a8", "d8")}


def play(fen, move):
    """The FEN after a move in UCI. Raises ValueError for what cannot be a position, or a move of
    the side to move. The square behind a pawn that went two steps is always named."""
    board, turn, rights, passing, quiet, number = parse(fen)
    piece, start, end, promoted = moved(board, turn, move)
    pawn = piece in "Pp"
    quiet = 0 if pawn or end in board else quiet + 1
    if pawn and end == passing:  # the pawn that is taken stands beside
        board.pop(end[0] + start[1], None)
    board[end] = (promoted.upper() if turn == "w" else promoted) or piece
    del board[start]
    right, corner, beside = CASTLING.get(move, "-__")
    if piece in "Kk" and right in rights and corner in board:
        board[beside] = board.pop(corner)
    gone = LOST.get(start, "") + LOST.get(end, "")
    rights = "".join(right for right in rights if right not in gone)
    two = pawn and abs(int(start[1]) - int(end[1])) == 2
    passing = f"{start[0]}{(int(start[1]) + int(end[1])) // 2}" if two else "-"
    return (f"{placement(board)} {'b' if turn == 'w' else 'w'} {rights or '-'} {passing} {quiet} "
            f"{number + (turn == 'b')}")


def moved(board, turn, move):
    """(piece, start, end, what a pawn becomes or "") of a move that this side could make."""
    found = MOVE.fullmatch(move)
    if not found or found[1] == found[2]:
        raise ValueError(f"'{move[:5]}' is not a move in UCI (e2e4, e7e8q)")
    start, end, promoted = found.groups()
    own = str.isupper if turn == "w" else str.islower
    if not own(board.get(start, " ")):
        raise ValueError(f"move {move}: no piece of the side to move stands on {start}")
    if own(board.get(end, " ")):
        raise ValueError(f"move {move}: a piece of the same side stands on {end}")
    if bool(promoted) != (board[start] in "Pp" and end[1] in "18"):
        raise ValueError(f"move {move}: a pawn, and nothing else, is promoted on the last rank")
    return board[start], start, end, promoted


def parse(fen):
    """(board, turn, castling rights, en passant square or "-", half-moves since a pawn moved or a
    piece was taken, number of the move). Raises ValueError."""
    found = re.fullmatch(r"([pnbrqkPNBRQK1-8/]+) ([wb]) (-|K?Q?k?q?) (-|[a-h][36]) (\d+) (\d+)",
                         fen)
    lines = [re.sub("[1-8]", lambda digit: " " * int(digit[0]), line)
             for line in found[1].split("/")] if found else []
    if len(lines) != 8 or any(len(line) != 8 for line in lines) or not found[3]:
        raise ValueError("not a position in FEN")
    board = {f"{file}{rank}": piece for rank, line in zip(RANKS[::-1], lines)
             for file, piece in zip(FILES, line) if piece != " "}
    return board, found[2], found[3].strip("-"), found[4], int(found[5]), int(found[6])


def placement(board):
    """The first field of a FEN."""
    lines = ("".join(board.get(f"{file}{rank}", " ") for file in FILES) for rank in RANKS[::-1])
    return re.sub(" +", lambda blanks: str(len(blanks[0])), "/".join(lines))
