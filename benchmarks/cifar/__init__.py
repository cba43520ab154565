"""The CIFAR-10 speedrun: its recipe, its data, and a program for it per library.

Each library's module has three functions: ``first_losses`` for the comparison, ``loop`` for steps per second,
and ``whole`` for a training run from fresh weights to the accuracy on the test set.
"""
