"""Gated recurrent unit (Cho et al. 2014), as torch and Keras (reset_after=True) compute it.

    r_t = σ(W_r x_t + b_ir + U_r h_{t-1} + b_hr)                reset gate
    z_t = σ(W_z x_t + b_iz + U_z h_{t-1} + b_hz)                torch's z: the share of the old state kept
    n_t = tanh(W_n x_t + b_in + r_t ⊙ (U_n h_{t-1} + b_hn))     candidate
    h_t = (1 - z_t) ⊙ n_t + z_t ⊙ h_{t-1}

Published gates follow the house's convention: `update` = 1 - z_t, `keep` = z_t.
"""
