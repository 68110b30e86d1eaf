"""w2s.data.chess: the position after a move, by our own examples and beside python-chess.

    .venv/bin/python -m pytest tests/data/test_chess.py

A second; the comparison needs `pip install chess` and is skipped without it.
"""

import random

import pytest

from w2s.data.chess import parse, placement, play

START = "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq - 0 1"
CASTLING = "r3k2r/p7/8/8/8/8/P6P/R3K2R {} KQkq - 7 20"
MOVES = [  # what is shown, position, move, position after it
    ("a pawn goes two steps", START, "e2e4",
     "rnbqkbnr/pppppppp/8/8/4P3/8/PPPP1PPP/RNBQKBNR b KQkq e3 0 1"),
    ("a knight", START, "g1f3", "rnbqkbnr/pppppppp/8/8/8/5N2/PPPPPPPP/RNBQKB1R b KQkq - 1 1"),
    ("Black's move ends the number",
     "rnbqkbnr/pppppppp/8/8/4P3/8/PPPP1PPP/RNBQKBNR b KQkq e3 0 1", "e7e5",
     "rnbqkbnr/pppp1ppp/8/4p3/4P3/8/PPPP1PPP/RNBQKBNR w KQkq e6 0 2"),
    ("White castles short", CASTLING.format("w"), "e1g1",
     "r3k2r/p7/8/8/8/8/P6P/R4RK1 b kq - 8 20"),
    ("White castles long", CASTLING.format("w"), "e1c1",
     "r3k2r/p7/8/8/8/8/P6P/2KR3R b kq - 8 20"),
    ("Black castles short", CASTLING.format("b"), "e8g8",
     "r4rk1/p7/8/8/8/8/P6P/R3K2R w KQ - 8 21"),
    ("Black castles long", CASTLING.format("b"), "e8c8",
     "2kr3r/p7/8/8/8/8/P6P/R3K2R w KQ - 8 21"),
    ("a king that just walks", CASTLING.format("w"), "e1e2",
     "r3k2r/p7/8/8/8/8/P3K2P/R6R b kq - 8 20"),
    ("a rook leaves its corner", CASTLING.format("b"), "h8h3",
     "r3k3/p7/8/8/8/7r/P6P/R3K2R w KQq - 8 21"),
    ("a rook is taken in its corner", CASTLING.format("w"), "a1a7",
     "r3k2r/R7/8/8/8/8/P6P/4K2R b Kkq - 0 20"),
    ("both rooks lose the right", "r3k2r/8/8/8/8/8/8/R3K2R w KQkq - 0 1", "a1a8",
     "R3k2r/8/8/8/8/8/8/4K2R b Kk - 0 1"),
    ("en passant by White", "4k3/8/8/3pP3/8/8/8/4K3 w - d6 0 9", "e5d6",
     "4k3/8/3P4/8/8/8/8/4K3 b - - 0 9"),
    ("en passant by Black", "4k3/8/8/8/3Pp3/8/8/4K3 b - d3 0 9", "e4d3",
     "4k3/8/8/8/8/3p4/8/4K3 w - - 0 10"),
    ("another piece on the square behind the pawn", "4k3/8/8/3pB3/8/8/8/4K3 w - d6 0 9", "e5d6",
     "4k3/8/3B4/3p4/8/8/8/4K3 b - - 1 9"),
    ("promotion", "8/P6k/8/8/8/8/8/K7 w - - 3 60", "a7a8q", "Q7/7k/8/8/8/8/8/K7 b - - 0 60"),
    ("promotion with a capture", "k7/8/8/8/8/8/1p5K/R7 b - - 3 60", "b2a1n",
     "k7/8/8/8/8/8/7K/n7 w - - 0 61"),
    ("a queen goes from e1 to g1 and nothing castles", "4k3/8/8/8/8/8/K7/4Q3 w - - 3 60", "e1g1",
     "4k3/8/8/8/8/8/K7/6Q1 b - - 4 60")]


@pytest.mark.parametrize("about, before, move, after", MOVES, ids=[m[0] for m in MOVES])
def test_the_position_after_a_move(about, before, move, after):
    assert play(before, move) == after


@pytest.mark.parametrize("fen, move, match", [
    ("8/8/8 w - - 0 1", "e2e4", "not a position"),
    (START.replace("8/8/8/8", "8/8/8/44", 1).replace("pppppppp", "ppppppp"), "e2e4",
     "not a position"),
    (START[:-4], "e2e4", "not a position"),
    (START, "e2", "'e2' is not a move in UCI"), (START, "e2e2", "not a move in UCI"),
    (START, "e4e5", "no piece of the side to move stands on e4"),
    (START, "e7e5", "no piece of the side to move stands on e7"),
    (START, "d1d2", "a piece of the same side stands on d2"),
    (START, "e2e4q", "is promoted"), ("8/P6k/8/8/8/8/8/K7 w - - 3 60", "a7a8", "is promoted")])
def test_what_cannot_be_is_refused(fen, move, match):
    with pytest.raises(ValueError, match=match):
        play(fen, move)


def test_reading_and_writing_a_board_are_inverse():
    for _, before, _, after in MOVES:
        for fen in (before, after):
            assert placement(parse(fen)[0]) == fen.split()[0]


def test_random_games_agree_with_python_chess():
    chess = pytest.importorskip("chess")
    draw, special = random.Random(0), [0, 0, 0]
    for _ in range(40):
        board, fen = chess.Board(), START
        for _ in range(150):
            moves = sorted(board.legal_moves, key=str)
            if not moves:
                break
            rare = [m for m in moves if m.promotion or board.is_castling(m)
                    or board.is_en_passant(m)]
            move = draw.choice(rare or moves)
            for k, kind in enumerate((move.promotion, board.is_castling(move),
                                      board.is_en_passant(move))):
                special[k] += bool(kind)
            board.push(move)
            fen = play(fen, move.uci())
            assert fen == board.fen(en_passant="fen")
    assert min(special) >= 5, special
