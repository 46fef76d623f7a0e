"""The ledger: hears of each answer of a front's splits, counts callers once, and takes in what came of the answers."""
