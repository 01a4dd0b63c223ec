"""The selective scan and its gradients in float64, token by token, from the equations."""

import numpy as np


def visits(h: int, w: int, direction: int) -> np.ndarray:
    """The tokens of a row-major map, in the order of a direction's visits."""
    tokens = np.arange(h * w).reshape(h, w)
    order = tokens.T.ravel() if direction % 2 else tokens.ravel()
    return order[::-1] if direction >= 2 else order


def sequence_loop(u, delta, A, B, C, dy):
    """y of sequences [b, l, d], without the D skip, and the gradients of sum(y dy) for all arguments but dy."""
    state, states = np.zeros((u.shape[0], *A.shape)), []
    y, du, ddelta, dA, dB, dC = (np.zeros_like(x) for x in (u, u, delta, A, B, C))
    for t in range(u.shape[1]):
        before, state = state, np.exp(delta[:, t, :, None] * A) * state
        state = state + (delta[:, t] * u[:, t])[:, :, None] * B[:, t, None]
        y[:, t] = (state * C[:, t, None]).sum(2)
        states.append((before, state))
    dstate = np.zeros_like(state)
    for t, (before, state) in reversed(list(enumerate(states))):
        dstate = dstate + dy[:, t, :, None] * C[:, t, None]
        dC[:, t] = (state * dy[:, t, :, None]).sum(1)
        dB[:, t] = (dstate * (delta[:, t] * u[:, t])[:, :, None]).sum(1)
        dinput = (dstate * B[:, t, None]).sum(2)
        dstate = dstate * np.exp(delta[:, t, :, None] * A)
        dexponent = dstate * before
        dA += (dexponent * delta[:, t, :, None]).sum(0)
        du[:, t] = dinput * delta[:, t]
        ddelta[:, t] = dinput * u[:, t] + (dexponent * A).sum(2)
    return y, (du, ddelta, dA, dB, dC)


def plain_loop(u, delta, A, B, C, D, dy, *, reverse: bool):
    """The result of `selective_scan`, and the gradients of sum(y dy)."""
    step = -1 if reverse else 1
    walk = [x[:, ::step] for x in (u, delta, B, C, dy)]
    y, (du, ddelta, dA, dB, dC) = sequence_loop(*walk[:2], A, *walk[2:])
    y, du, ddelta, dB, dC = (x[:, ::step] for x in (y, du, ddelta, dB, dC))
    return y + u * D, (du + dy * D, ddelta, dA, dB, dC, (dy * u).sum((0, 1)))


def ss2d_loop(u, proj, dt_weight, dt_bias, A_log, D, dy):
    """The result of `ss2d_scan`, and the gradients of sum(y dy)."""
    b, h, w, d = u.shape
    r, n = dt_weight.shape[1], A_log.shape[2]
    x, rows, gy = u.reshape(b, h * w, d), proj.reshape(b, h * w, 4, -1), dy.reshape(b, h * w, d)
    y, du, drows = x * D.sum(0), gy * D.sum(0), np.zeros_like(rows)
    dweight, dbias, dA_log = (np.zeros_like(a) for a in (dt_weight, dt_bias, A_log))
    for k in range(4):
        order = visits(h, w, k)
        low, B, C = np.split(rows[:, order, k], [r, r + n], axis=2)
        z, A = low @ dt_weight[k] + dt_bias[k], -np.exp(A_log[k])
        found, (gu, gdelta, gA, gB, gC) = sequence_loop(x[:, order], np.logaddexp(0, z), A, B, C, gy[:, order])
        gz = gdelta / (1 + np.exp(-z))
        y[:, order] += found
        du[:, order] += gu
        drows[:, order, k] = np.concatenate([gz @ dt_weight[k].T, gB, gC], axis=2)
        dweight[k], dbias[k], dA_log[k] = np.einsum("blr,bld->rd", low, gz), gz.sum((0, 1)), gA * A
    dD = np.broadcast_to((gy * x).sum((0, 1)), D.shape)
    return y.reshape(u.shape), [du.reshape(u.shape), drows.reshape(proj.shape), dweight, dbias, dA_log, dD]
