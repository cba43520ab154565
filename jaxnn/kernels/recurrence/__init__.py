"""One step of a recurrent network, and the loop over all steps with a derivative of its own."""
