"""
Figures of how reliable the product is, and the page made of them: ``python -m reliability``, run by hand.

Like benchmarks/ it is no part of the wheel, and nothing imports it but its own tests. See README.md.
"""
