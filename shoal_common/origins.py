"""The origins by which squids are tested unless an operator names others."""

STRATUM_ONES = (
    "http://cvmfs-stratum-one.cern.ch/cvmfs/atlas.cern.ch/.cvmfspublished",
    "http://cernvmfs.gridpp.rl.ac.uk/cvmfs/atlas.cern.ch/.cvmfspublished",
    "http://cvmfs-s1bnl.opensciencegrid.org/cvmfs/atlas.cern.ch/.cvmfspublished",
    "http://cvmfs-s1fnal.opensciencegrid.org/cvmfs/atlas.cern.ch/.cvmfspublished",
)
"""The same object at four sites, so that one site's outage says nothing of a squid."""
