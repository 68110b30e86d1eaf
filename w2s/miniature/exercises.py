"""Sums and games of stones, the town's school exercises: raw files for w2s.data.questions.

    sum       what do forty-two and seventeen make ?
              forty and ten make fifty . two and seven make nine . #### fifty-nine
    stones    the game of stones : a heap of sixty-nine . dean takes three . silas takes  ->  two

The base models have read sums without their steps and know few of them. They have read games of
heaps below twenty, in which every move says how many stones are left. Here heaps go up to 98, and a
third of the positions do not say how many the last move left.
"""

from itertools import product
from random import Random

from w2s.miniature import town
from w2s.miniature import lexicon as L

HIGHEST = 98  # number in a sum or of a heap, at most
HISTORY = (1, 2, 3)  # moves before the one that is asked for
TOLD = 2 / 3  # of the positions say what the last move left


def sums(seed, count):
    """`count` rows {id, question, prompt, answer}, all of different sums. 4753 pairs of numbers
    from 1 on have a sum of at most HIGHEST."""
    pairs = [(a, b) for a in range(1, HIGHEST) for b in range(1, HIGHEST + 1 - a)]
    drawn = Random(f"{seed}/sums").sample(pairs, count)
    asked = [f"what do {L.number(a)} and {L.number(b)} make ?" for a, b in drawn]
    return [{"id": f"sums/{n}", "question": question, "prompt": question, "answer": worked(*pair)}
            for n, (question, pair) in enumerate(zip(asked, drawn), 1)]


def worked(a, b):
    """The worked solution of a sum: tens, then ones, and behind #### the result, as in GSM8K."""
    steps = [f"{L.number(x)} and {L.number(y)} make {L.number(x + y)} ." for x, y in (
        (a // 10 * 10, b // 10 * 10), (a % 10, b % 10))]
    return " ".join([*steps, "####", L.number(a + b)])


def stones(seed, count):
    """`count` rows {id, question, prompt, answer}, at most 4086. No two have the same heap, moves
    and telling."""
    # a heap that every move loses has no right answer and is not asked for
    rng = Random(f"{seed}/stones")
    games = [(heap, moves) for heap in range(4, HIGHEST + 1) for n in HISTORY
             for moves in product((1, 2, 3), repeat=n)
             if heap > sum(moves) and town.best_move(heap - sum(moves))]
    told = round(TOLD * count)
    drawn = [(*game, True) for game in rng.sample(games, told)]
    drawn += [(*game, False) for game in rng.sample(games, count - told)]
    rng.shuffle(drawn)
    rows = []
    for n, (heap, moves, told) in enumerate(drawn, 1):
        played = history(rng, heap, moves, told)
        rows.append({"id": f"stones/{n}", "question": played, "prompt": played,
                     "answer": L.number(town.best_move(heap - sum(moves)))})
    return rows


def history(rng, heap, moves, told):
    """A game up to a player's turn, in town.game_document's words. told: the last move says what it
    left."""
    players, left = rng.sample(L.GIVEN, 2), heap
    text = f"the game of stones : a heap of {L.number(heap)} ."
    for turn, take in enumerate(moves, 1):
        left -= take
        text += f" {players[turn % 2]} takes {L.number(take)} "
        text += f", {L.number(left)} left ." if told or turn < len(moves) else "."
    return f"{text} {players[(len(moves) + 1) % 2]} takes"
