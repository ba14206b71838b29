"""Is it any good? Measures any `CountEstimator` on a manifest's splits; never imports torch."""
