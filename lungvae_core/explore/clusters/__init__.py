"""Clusters of lesions in the latent space, and what they correlate with: findings or confounds.

k-means, CLASSIX (the paper's second method) and HDBSCAN in the space in which lesions are also compared
(`lungvae_core.training.lesion_space`). No setting is chosen by a label. Codes without groups are clustered,
too, since every method finds some clusters in them: compare figures with theirs.
"""
