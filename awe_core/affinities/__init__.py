"""G: the kinds that are stored (`stored`), those learnt with U and V (`joint_kinds`), and what they share."""
