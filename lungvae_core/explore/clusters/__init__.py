"""Groups of lesions that lie together in the latent space, and what they follow: findings or confounds.

k-means, CLASSIX (the paper's second method) and HDBSCAN in the space in which lesions are also compared
(`neighbours.features`). No setting is chosen by a label. Codes without any groups are clustered, too, since
every method finds some in them: a figure counts for what it has above theirs.
"""
