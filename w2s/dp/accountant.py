"""Privacy accountants for DP-SGD, in numpy: how much epsilon a history of noisy steps has spent.

One step is the Poisson-subsampled Gaussian mechanism under add/remove adjacency: every example is
drawn with probability q, the clipped gradients are summed, noise of standard deviation sigma times
the clipping norm is added to the sum. In units of the noise, with m = 1 / sigma, its worst pair is

    absent: N(0, 1)        present: (1 - q) N(0, 1) + q N(m, 1)

"rdp" is the moments accountant. "pld" follows the whole distribution of the privacy loss, is
tighter, and errs on the safe side in each of its approximations (`_solve`). Neither uses a central
limit theorem.
"""

import math

import numpy as np

ORDERS = np.array([*(1 + k / 10 for k in range(1, 100)), *range(12, 64)])  # Opacus': 1.1 to 63
BEYOND = np.array([*(1 + k / 100 for k in range(1, 10)), *(2 ** (k / 8) for k in range(48, 113))])
TOLERANCE, ROUGH = 4e-6, 1e-3  # what smoothing, and the grid, may each add to epsilon, relative
SMALL = 5e-3  # the epsilon below which they may add as much as there
SMALLEST = .05  # the least sigma of "pld", except for q = 1: epsilon would be 0, q * steps or > 100
LARGEST, LEAST = 1e7, 1e-9  # "pld" takes a larger sigma for this one, a smaller q for that one
DELTAS, STEPS = 1e-100, 1e10  # below that delta or above so many steps only "rdp" says something
MOST = 1e12  # steps: a rounding error of each would matter
COARSE, NODES, WAVES = .02, 2 ** 15, 2 ** 17  # widest grid (unit: noise), most points, frequencies


def epsilon(sigma, q, steps, delta, method="pld"):
    """Eq. (6): the least epsilon for which `steps` steps are (epsilon, delta)-DP, never too small.

    sigma: noise multiplier, in clipping norms; q: sampling rate, expected batch over examples.
    method "rdp": Renyi DP (Abadi et al. 2016; Mironov et al. 2019, "Renyi DP of the Sampled
    Gaussian Mechanism") at ORDERS. "pld": privacy loss distribution (Koskela et al. 2020; Gopi et
    al. 2021) on the grid of Doroshenko et al. 2022 ("Connect the Dots"), inverted as by Alghamdi
    et al. 2022 ("The Saddle-Point Accountant"): above the truth by less than 1e-3 of it where that
    is in [.01, 100], mostly by 2e-5. 0 for q = 0 or steps = 0, otherwise inf for sigma = 0, and
    where it exceeds all numbers. Beyond LARGEST, LEAST, DELTAS and STEPS it is valid, not tight.
    Raises ValueError for input out of range.
    """
    return composed([(sigma, q, steps)], delta, method)


@np.errstate(over="ignore", divide="ignore")  # then a number is inf, and so is the bound
def composed(history, delta, method="pld"):
    """Epsilon of a history [(sigma, q, steps), ...]; the rest as for `epsilon`."""
    _check("delta", delta, 0 < _number("delta", delta) < 1, "a number between 0 and 1")
    _check("method", method, method in ("rdp", "pld"), "'rdp' or 'pld'")
    for sigma, q, steps in history:
        _check("sigma", sigma, _number("sigma", sigma) >= 0, "a number of at least 0")
        _check("q", q, 0 <= _number("q", q) <= 1, "a number in [0, 1]")
        _check("steps", steps, 0 <= _number("steps", steps) <= MOST and steps == int(steps),
               f"a whole number from 0 to {MOST:g}")
    # steps that release nothing, or nothing but noise, cost nothing
    history = [(float(sigma), float(q), int(steps)) for sigma, q, steps in history
               if q > 0 and steps > 0 and sigma < math.inf]
    if not history or any(sigma == 0 for sigma, _, _ in history):
        return math.inf if history else 0.0
    delta = float(delta)
    # both are upper bounds, so the smaller one is too
    bound = _epsilon_rdp(history, delta)
    return bound if method == "rdp" else min(bound, _epsilon_pld(history, delta))


@np.errstate(over="ignore", divide="ignore")
def noise_multiplier(epsilon, q, steps, delta, method="pld"):
    """The least sigma, to 1e-4, whose epsilon is at most `epsilon`: it never overshoots.

    Arguments as for the function `epsilon`. 0 when nothing is released (q = 0 or steps = 0), else
    at least SMALLEST. ValueError if no noise will do: RDP leaves a small epsilon at any sigma.
    """
    _check("epsilon", epsilon, 0 < _number("epsilon", epsilon) < math.inf, "a finite number > 0")
    if composed([(0, q, steps)], delta, method) == 0:
        return 0.0
    if method == "rdp":
        return _root(lambda sigma: _epsilon_rdp([(sigma, q, steps)], delta), epsilon, 1.0, -1.0)[0]
    delta, start = float(delta), (1.0, -1.0)
    # the rough answer costs little, and from there the exact one needs few evaluations
    for tolerance in (ROUGH, TOLERANCE):
        start = _root(lambda sigma: _epsilon_pld([(sigma, q, steps)], delta, tolerance),
                      epsilon, *start)
    return start[0]


def _root(function, target, sigma, slope):
    """(sigma, slope): the least sigma >= SMALLEST, to 1e-4, with function(sigma) <= target.

    function decreases. Secants on the logarithms, from the given sigma and slope (of logarithms),
    within a bracket that every fourth step halves.
    """
    lowest = min(1e-9, max(target / 2, 5e-324))  # for the logarithm of an epsilon of 0
    highest = max(1e9, 10 * target)              # and of one that is infinite
    floor, low, high, x, old = math.log(SMALLEST), -math.inf, math.inf, math.log(sigma), None
    for n in range(100):
        # aim 4e-5 below the target: then an x on either side of the root keeps within it
        y = math.log(min(max(function(math.exp(x)), lowest), highest) / target) + 4e-5
        low, high = (x, high) if y > 0 else (low, x)
        # a slope that does not fall comes from rounding or the two caps: keep the one before
        if old and x != old[0] and (y - old[1]) / (x - old[0]) < 0:
            slope = (y - old[1]) / (x - old[0])
        if abs(y) < 4e-5 or high - low < 1e-5 or high <= floor:
            break
        if low > 50:
            raise ValueError(f"epsilon: no noise brings it down to {target:g} by this accountant")
        old, x = (x, y), max(x - min(max(1.05 * y / slope, -1), 1), floor)
        if not low < x < high or n % 4 == 3 and high - low < math.inf:
            x = (low + high) / 2
    return math.exp(x if abs(y) < 4e-5 else high), slope


def rdp(sigma, q, alpha):
    """Renyi divergence of one step: ln E_absent[(present / absent)^alpha] / (alpha - 1), alpha > 1.

    Mironov et al. 2019, section 3.3 (their A_alpha), but by the trapezoid rule: for an integrand
    analytic in |Im u| < pi sigma its error falls exponentially, here to about 1e-14.
    """
    _check("alpha", alpha, _number("alpha", alpha) > 1, "a number above 1")
    # nobody is drawn; no noise; everybody is drawn: the Gaussian mechanism, alpha / (2 sigma^2)
    if q == 0 or sigma == 0 or q == 1:
        return 0.0 if q == 0 else math.inf if sigma == 0 else alpha / 2 / sigma / sigma
    m, du = 1 / sigma, min(.5, .5 * sigma)
    if m > 50:  # the two parts of the mixture do not overlap: exact to e^-300
        return float(np.logaddexp(alpha * math.log1p(-q), alpha * math.log(q)
                                  + alpha * (alpha - 1) * m * m / 2)) / (alpha - 1)
    # the integrand has its mass around 0 and alpha m; 12 standard deviations further are nothing
    u = np.arange(-12, alpha * m + 12 + du, du)
    log_ratio = m * u - m * m / 2
    power = alpha * np.logaddexp(math.log1p(-q), math.log(q) + log_ratio) - u * u / 2
    scale, top = du / math.sqrt(2 * math.pi), power.max()
    log_a = top + math.log(scale * np.exp(power - top).sum())
    if log_a < .1:  # A - 1 = E[(1 + x)^alpha - 1 - alpha x] for any x of mean 0: keeps the digits
        phi = np.exp(-u * u / 2)
        excess = np.exp(power) - phi - alpha * q * (np.exp(-(u - m) ** 2 / 2) - phi)
        x = q * np.expm1(np.minimum(log_ratio, 1))
        near = (np.abs(alpha * x) < 1e-3) & (log_ratio < 1)
        series = 1 + (alpha - 2) * x / 3 * (1 + (alpha - 3) * x / 4 * (1 + (alpha - 4) * x / 5))
        excess[near] = (alpha * (alpha - 1) / 2 * x * x * series * phi)[near]
        lost = 4e-16 * (phi[~near].sum() + abs(excess).sum())  # rounding errors, for many steps
        log_a = math.log1p(max(scale * (excess.sum() + lost), 0))
    return log_a / (alpha - 1)


def _epsilon_rdp(history, delta):
    """Sum of `rdp` over the history, converted by Balle et al. 2020, Theorem 21, best of ORDERS;
    where their first or last is the best, of BEYOND too."""
    best, order = _best_of(ORDERS, history, delta)
    return _best_of(BEYOND, history, delta, best)[0] if order in ORDERS[[0, -1]] else best


def _best_of(orders, history, delta, best=math.inf):
    """(least epsilon of the orders and of `best`, the order that gives it)."""
    # what the conversion to (epsilon, delta) costs at each order
    paid = np.log1p(-1 / orders) - (math.log(delta) + np.log(orders)) / (orders - 1)
    order = None
    for k, alpha in enumerate(orders):
        spent = sum(steps * rdp(sigma, q, alpha) for sigma, q, steps in history)
        best, order = min((best, order), (spent + paid[k], alpha), key=lambda pair: pair[0])
        if spent + paid[k:].min() > best:  # the divergence grows with alpha: stop here
            break
    return max(0.0, float(best)), order


def _epsilon_pld(history, delta, tolerance=TOLERANCE):
    """The larger epsilon of the two directions (removal, addition), or inf (see SMALLEST).

    Epsilon falls with sigma and grows with q, so a bound for less noise and more rows is one: a
    sigma above LARGEST and a q below LEAST are replaced by these."""
    if any(sigma < SMALLEST * (1 - 1e-9) and q < 1 for sigma, q, _ in history):
        return math.inf
    if delta < DELTAS or sum(steps for *_, steps in history) > STEPS:
        return math.inf
    history = [(min(sigma, LARGEST), max(q, LEAST), steps) for sigma, q, steps in history]
    if sum(steps / sigma / sigma for sigma, q, steps in history if q == 1) > 1e8:
        return math.inf  # epsilon is above 5e7
    # of addition nothing below removal matters, so its bound is not tightened beyond that
    try:
        removal = _solve(history, delta, False, tolerance, 0)
        bound = max(removal, _solve(history, delta, True, tolerance, removal))
    except (ArithmeticError, IndexError, ValueError):  # beyond what floating point can do
        return math.inf
    return bound if math.isfinite(bound) else math.inf


def _solve(history, delta, add, tolerance, enough):
    """Epsilon, from above, against an adversary who looks for an addition (add) or a removal.

    delta(eps) = E[max(0, 1 - e^(eps - L))], L the total privacy loss, is the integral over Im z of
    M(z) e^(-z eps) / (2 pi z (z + 1)) with M(z) = E[e^(z L)], for any lam = Re z > 0; composition
    multiplies M. Every deviation from it only adds to delta:
    1. the losses move to a grid of spacing du, "connecting the dots"; what lies outside is `lost`;
    2. one more, tiny, Gaussian release, of squared mean mu2, makes the integral end: it multiplies
       M by e^(mu2 z (z + 1) / 2);
    3. the trapezoid rule with spacing 2 pi / period yields the sum of e^(lam k period) delta(eps +
       k period) over all whole k, not only k = 0;
    4. `_invert` adds a bound on the rounding errors.
    lam, du, mu2 and period come from a coarse grid and a guess and decide only how tight the bound
    is. A bound of at most `enough` is not tightened.
    """
    # without sampling the losses are Gaussian and add up in closed form, as one mu2
    parts = [(sigma, q, n) for sigma, q, n in history if q < 1]
    fixed = sum(n / sigma / sigma for sigma, q, n in history if q == 1)
    steps = sum(n for _, _, n in parts)
    reach = math.sqrt(2 * math.log(1e7 * (1 + steps) / delta))
    lost = steps * math.exp(-reach ** 2 / 2)
    coarse = [(n, *_losses(sigma, q, COARSE, reach, add)) for sigma, q, n in parts]
    eps, last = None, False
    for trial in range(6):  # roughly, until the guess holds, and then at the tolerance asked for
        lam, estimate = _saddle(coarse, fixed, delta, eps)
        guess, last = max(estimate, SMALL), last or trial == 5
        # the variance that costs as much as the tolerance allows: v costs v (lam + 1) / 2
        budget = 2 * (tolerance if last else ROUGH) * guess / (lam + 1)
        limit = 1 if last and tolerance < ROUGH else 1 / 8
        period = _period(coarse, fixed + budget, lam, .9 * max(estimate, 0) if last else 0, delta)
        mu2 = max(fixed, budget, (9 * period / (2 * math.pi * WAVES * limit)) ** 2)
        per_du2 = sum(_variance(*part, *losses[1:], lam, add)
                      for part, losses in zip(parts, coarse))
        # the grid adds variance too, per_du2 du^2: as much as mu2 may
        du = min(COARSE, math.sqrt(budget / per_du2)) if parts else COARSE
        fine = [(n, *_losses(sigma, q, max(du, (1 / sigma + 2 * reach) / (NODES * limit)), reach,
                             add)) for sigma, q, n in parts]
        eps = _invert(fine, mu2, lam, period, delta - lost, guess)
        holds = eps >= .9 * estimate
        if last or eps <= enough or holds and tolerance == ROUGH:
            break
        last = holds
    return eps


def _losses(sigma, q, du, reach, add):
    """(privacy losses (J,), their probabilities (J,)) of one step, on a grid of the noise.

    Connect the dots: an observation between two grid points is replaced by one of the two, at
    random, such that the probabilities under N(0, 1) and N(m, 1) both stay what they are. That
    tells the adversary more, for any q, in either direction. Grid: from -reach to m + reach.
    """
    m = 1 / sigma
    u = np.arange(-reach, m + reach + du, du)
    # mass over the density at u, by Gauss-Legendre of three points between the grid's
    mass = np.zeros_like(u)
    for place, weight in zip(.5 + np.sqrt(.15) * np.array([-1, 0, 1]), np.array([5, 8, 5]) / 18):
        right = math.exp(-m * du * (1 - place)) * math.expm1(-m * du * place) / math.expm1(-m * du)
        for step, share in ((place * du, 1 - right), ((place - 1) * du, right)):
            mass += weight * du * share * np.exp(-u * step - step ** 2 / 2)
    absent, drawn = (mass * np.exp(-(u - mean) ** 2 / 2) / math.sqrt(2 * math.pi)
                     for mean in (0, m))
    loss = np.logaddexp(math.log1p(-q), math.log(q) + m * u - m * m / 2)
    return (-loss, absent) if add else (loss, (1 - q) * absent + q * drawn)


def _variance(sigma, q, steps, loss, p, lam, add):
    """What the grid adds to the variance of the total loss under the tilt lam, per du^2."""
    slope = -np.expm1(math.log1p(-q) - (-loss if add else loss)) / sigma  # d loss / d u
    return steps * _moments(loss, p, lam, slope ** 2)[1] / 6


def _moments(loss, p, lam, *values):
    """ln M(lam) of one step, and the means of values (J,) under weights p e^(lam loss)."""
    # relative to the largest power, so that no exponential overflows
    power = lam * loss
    top = power[p > 0].max()
    w = p * np.exp(np.minimum(power - top, 0))
    return math.log(w.sum()) + top, *(float(w @ v / w.sum()) for v in values)


def _log_m(parts, mu2, lam):
    """ln M(lam) of the whole history, and its first two derivatives."""
    total = np.array([mu2 * lam * (lam + 1) / 2, mu2 * (lam + .5), mu2])
    for n, loss, p in parts:
        log_m, mean, square = _moments(loss, p, lam, loss, loss ** 2)
        total += n * np.array([log_m, mean, max(square - mean ** 2, 0)])
    return total


def _saddle(parts, mu2, delta, eps=None):
    """(lam, eps) where the integrand of `_solve` is flat; eps None: saddle-point approximation."""
    # by bisection on ln lam: the larger lam, the larger eps and the smaller delta(eps)
    low, high = math.log(1e-6), math.log(1e9)
    while high - low > 1e-4:
        lam = math.exp((low + high) / 2)
        log_m, first, second = _log_m(parts, mu2, lam)
        stationary = first - 1 / lam - 1 / (lam + 1)
        curvature = second + 1 / lam ** 2 + 1 / (lam + 1) ** 2
        log_delta = (log_m - lam * stationary - math.log(lam * (lam + 1))
                     - math.log(2 * math.pi * curvature) / 2)
        below = log_delta > math.log(delta) if eps is None else stationary < eps
        low, high = (math.log(lam), high) if below else (low, math.log(lam))
    return lam, stationary if eps is None else eps


def _period(parts, mu2, lam, eps, delta):
    """A period with e^(lam k period) delta(eps + k period) < 1e-7 delta, k = -1, 1 (Chernoff).

    Then the copies that the trapezoid rule adds (`_solve`, 3) cost next to nothing."""
    def width(x):
        return (_log_m(parts, mu2, x)[0] - x * eps - math.log(1e-7 * delta)) / abs(x - lam)

    # a bound at any other tilt holds: below lam for the copy before, above it for the one behind
    return max(min(width(lam * x) for x in (0, .25, .5, .75)),
               min(width(lam * (1 + 2. ** k)) for k in range(-4, 8)), 1 / lam)


def _invert(parts, mu2, lam, period, delta, eps):
    """The least eps >= 0 with delta(eps) <= delta (see `_solve`), by Newton's method from eps."""
    # mu2's factor is e^(-mu2 Im(z)^2 / 2): beyond 9 of its standard deviations nothing is left
    count = math.ceil(9 / math.sqrt(mu2) * period / (2 * math.pi))
    z = lam + 2j * math.pi / period * np.arange(count + 1)
    # tilted by lam and scaled by M(lam): no term exceeds 1, and powers are sums of logarithms
    log_m, log_c = _log_m(parts, mu2, lam)[0], mu2 * (z * (z + 1) - lam * (lam + 1)) / 2
    error = 2e-14
    for n, loss, p in parts:
        w = p * np.exp(lam * loss - (lam * loss).max())
        s, inexact = _characteristic(w / w.sum(), loss, z.imag)
        near = np.abs(s) < .1  # log1p there, or n steps would magnify the rounding of 1 + s
        log_size = np.log1p(np.where(near, 2 * s.real + np.abs(s) ** 2, 0)) / 2
        log_size[~near] = np.log(np.abs(1 + s[~near]) + 1e-300)
        log_c += n * (log_size + 1j * np.angle(1 + s))
        error += n * inexact
    c = np.exp(log_c) / (z * (z + 1) * period) * np.where(z.imag, 2, 1)
    size = np.abs(c)
    error = error + 4e-16 * (np.abs(log_c) + 2 * z.imag * eps)  # of phases
    pad, last = size @ error, np.flatnonzero(size > 1e-14 * size[0] / len(c))[-1] + 1
    z, c = z[:last], c[:last]

    def log_delta(eps):  # and how fast it falls
        terms = c * np.exp(-1j * z.imag * eps)
        value = max(terms.real.sum() + pad, 1e-300)
        return math.log(value) + log_m - lam * eps, (z * terms).real.sum() / value

    goal, low, high = math.log(delta), 0.0, math.inf
    if log_delta(0.0)[0] <= goal:
        return 0.0
    # to 1e-9 below the goal, never above it; where Newton leaves the bracket, bisection
    for _ in range(100):
        value, slope = log_delta(eps)
        low, high = (max(low, eps), high) if value > goal else (low, eps)
        if -2e-9 < value - goal <= 0 or high - low < 1e-12 * high:
            break
        step = eps + (value - goal + 1e-9) / slope if slope > 0 else math.nan
        eps = step if low < step < high else (low + high) / 2 if high < math.inf else 2 * low
    return float(high)


def _characteristic(w, loss, t):
    """(E[e^(i t loss)] - 1 at t = 0, dt, 2 dt, ...; a bound on its error); w (J,) sums to 1.

    Small losses, most often nearly all, by Taylor's series, which leaves no rounding error for 1e6
    steps to magnify. The others by fast Gaussian gridding (Greengard and Lee 2004): blurred onto a
    fine regular grid, then FFT.
    """
    far = np.abs(loss) * t[-1] > 3
    x, y = loss[~far] * t[-1], t / t[-1]
    terms = np.cumprod([w[~far], *(x / k for k in range(1, 34))], axis=0).sum(1)
    # powers of i; that of order 0 is left out, since 1 is subtracted
    terms *= [0, 1, *[-1, -1, 1, 1] * 8]
    near = np.polynomial.polynomial.polyval(y * y, np.stack([terms[::2], terms[1::2]], 1))
    # a power of two for the FFT, at least twice as fine as the frequencies need
    size = 1 << math.ceil(math.log2(4 * len(t) + 64))
    reach, ratio = 16, size / (2 * len(t))
    tau = reach / (2 * math.pi * (2 - 1 / ratio))
    x, w = loss[far] * t[1] * size / (2 * math.pi), w[far]
    place = np.rint(x) + np.arange(-reach, reach + 1)[:, None]
    grid = np.bincount((place % size).astype(int).ravel(),
                       (w * np.exp(-(x - place) ** 2 / (4 * tau))).ravel(), size)
    omega = 2 * math.pi / size * np.arange(len(t))
    blur = math.sqrt(4 * math.pi * tau) * np.exp(-tau * omega ** 2)
    rest = np.fft.rfft(grid)[:len(t)].conj() / blur
    return near[0] + 1j * y * near[1] + rest - w.sum(), 5e-15 * w.sum()


def _number(name, value):
    """float(value); ValueError for what is no number, a text that reads as one included."""
    try:
        return float(None if isinstance(value, str) else value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name}: expected a number, got {value!r}") from None


def _check(name, value, good, expected):
    """ValueError in one form for all arguments, unless `good`."""
    if not good:
        raise ValueError(f"{name}: expected {expected}, got {value!r}")
