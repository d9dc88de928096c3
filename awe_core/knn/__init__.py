"""The k-nearest-neighbour join in memory, exact (`join`) and by lists (`approximate`), and its `plan`.

Rows are prepared once, joined by tiles of a product, decided in float64.
"""

from awe_core.knn.join import join_both as join_both
from awe_core.knn.join import join_within as join_within
from awe_core.knn.join import knn_join as knn_join
from awe_core.knn.join import search as search
from awe_core.knn.metric import Metric as Metric
from awe_core.knn.prepared import Base as Base
from awe_core.knn.prepared import Centre as Centre
from awe_core.knn.prepared import Prepared as Prepared
from awe_core.knn.prepared import prepare as prepare
