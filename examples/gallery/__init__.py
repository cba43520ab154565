"""A gallery that teaches the subject: each script answers one question with figures and checked facts.

``python -m examples.gallery`` draws all of it, ``python -m examples.gallery dying_relu`` one.
"""
