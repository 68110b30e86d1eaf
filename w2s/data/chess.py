"""The position after a move in chess. Notation is FEN and UCI, as Lichess writes them.

    play("8/P6k/8/8/8/8/8/K7 w - - 3 60", "a7a8q")  ->  "Q7/7k/8/8/8/8/8/K7 b - - 0 60"

Only what a move does is known here, not whether the rules allow it: puzzles are of real games.
A square is its name, "e4"; a board is {square: piece}, white pieces in capitals.
"""

import re

FILES, RANKS = "abcdefgh", "12345678"
MOVE = re.compile("([a-h][1-8])([a-h][1-8])([qrbn]?)")
# A move from or to one of these squares ends castling there: its king or rook left or was taken.
RIGHTS_LOST = {"h1": "K", "a1": "Q", "h8": "k", "a8": "q", "e1": "KQ", "e8": "kq"}
CASTLING = {  # king's move: the right it needs, the rook's square before and after
    "e1g1": ("K", "h1", "f1"), "e1c1": ("Q", "a1", "d1"),
    "e8g8": ("k", "h8", "f8"), "e8c8": ("q", "a8", "d8")}


def play(fen, move):
    """The FEN after a move in UCI. Raises ValueError for what cannot be a position, or a move of
    the side to move. The en passant square is named after every double step of a pawn."""
    board, turn, rights, en_passant, halfmoves, fullmove = parse(fen)
    piece, start, end, promoted = moved(board, turn, move)
    pawn = piece in "Pp"
    halfmoves = 0 if pawn or end in board else halfmoves + 1
    if pawn and end == en_passant:  # the pawn that is taken does not stand on `end`
        board.pop(end[0] + start[1], None)
    board[end] = (promoted.upper() if turn == "w" else promoted) or piece
    del board[start]
    # In UCI castling is the king's move alone, so the rook is moved here. "-" is no right.
    right, rook_start, rook_end = CASTLING.get(move, "-__")
    if piece in "Kk" and right in rights and rook_start in board:
        board[rook_end] = board.pop(rook_start)
    lost = RIGHTS_LOST.get(start, "") + RIGHTS_LOST.get(end, "")
    rights = "".join(right for right in rights if right not in lost)
    double_step = pawn and abs(int(start[1]) - int(end[1])) == 2
    en_passant = f"{start[0]}{(int(start[1]) + int(end[1])) // 2}" if double_step else "-"
    # A full move ends when Black has moved.
    return (f"{placement(board)} {'b' if turn == 'w' else 'w'} {rights or '-'} {en_passant} "
            f"{halfmoves} {fullmove + (turn == 'b')}")


def moved(board, turn, move):
    """(piece, start, end, promoted piece or "") of a move in UCI. Raises ValueError for a move that
    this side cannot make: no piece there, its own piece on the target, a wrong promotion."""
    match = MOVE.fullmatch(move)
    if not match or match[1] == match[2]:
        raise ValueError(f"'{move[:5]}' is not a move in UCI (e2e4, e7e8q)")
    start, end, promoted = match.groups()
    is_own = str.isupper if turn == "w" else str.islower  # of " ", an empty square, both are False
    if not is_own(board.get(start, " ")):
        raise ValueError(f"move {move}: no piece of the side to move stands on {start}")
    if is_own(board.get(end, " ")):
        raise ValueError(f"move {move}: a piece of the same side stands on {end}")
    if bool(promoted) != (board[start] in "Pp" and end[1] in "18"):
        raise ValueError(f"move {move}: a pawn, and nothing else, is promoted on the last rank")
    return board[start], start, end, promoted


def parse(fen):
    """(board, turn, castling rights or "", en passant square or "-", half-moves since a pawn moved
    or a piece was taken, number of the full move). Raises ValueError for what is no FEN."""
    match = re.fullmatch(r"([pnbrqkPNBRQK1-8/]+) ([wb]) (-|K?Q?k?q?) (-|[a-h][36]) (\d+) (\d+)",
                         fen)
    # A digit counts empty squares: written out as blanks, every rank has eight characters.
    ranks = [re.sub("[1-8]", lambda digit: " " * int(digit[0]), rank_text)
             for rank_text in match[1].split("/")] if match else []
    # The pattern lets the rights be empty text, which FEN writes "-".
    if len(ranks) != 8 or any(len(rank_text) != 8 for rank_text in ranks) or not match[3]:
        raise ValueError("not a position in FEN")
    board = {f"{file}{rank}": piece for rank, rank_text in zip(RANKS[::-1], ranks)
             for file, piece in zip(FILES, rank_text) if piece != " "}
    return board, match[2], match[3].strip("-"), match[4], int(match[5]), int(match[6])


def placement(board):
    """The first field of a FEN: where the pieces stand."""
    ranks = ("".join(board.get(f"{file}{rank}", " ") for file in FILES) for rank in RANKS[::-1])
    return re.sub(" +", lambda blanks: str(len(blanks[0])), "/".join(ranks))
