"""Whether running an operation changes what later runs see; it reads op definitions, nothing else.

A signature that does so must be run once for each request: no warm-up, no retry, no second worker with a state of its
own. So whatever is not known to be harmless counts as changing state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from stopgap_protos.graph_pb2 import OpDef

__all__ = ["REPEATABLE", "state_changing"]

# Operations that TensorFlow marks as stateful, or that take a reference, and that may be run twice all the same.
_BY_REASON: Final[Mapping[str, str]] = {
    "call a function or a branch, whose own operations are looked at": """
        Case If PartitionedCall RemoteCall StatefulPartitionedCall While XlaLaunch _If _While""",
    "only name something that lives in the session, or make it empty where it is missing": """
        AnonymousHashTable AnonymousIterator AnonymousIteratorV2 AnonymousIteratorV3 AnonymousMemoryCache
        AnonymousMutableDenseHashTable AnonymousMutableHashTable AnonymousMutableHashTableOfTensors
        AnonymousRandomSeedGenerator AnonymousSeedGenerator BoostedTreesEnsembleResourceHandleOp
        BoostedTreesQuantileStreamResourceHandleOp DecisionTreeEnsembleResourceHandleOp DecisionTreeResourceHandleOp
        FertileStatsResourceHandleOp HashTable HashTableV2 MutableDenseHashTable MutableDenseHashTableV2
        MutableHashTable MutableHashTableOfTensors MutableHashTableOfTensorsV2 MutableHashTableV2 MutexV2
        QuantileStreamResourceHandleOp StatsAccumulatorScalarResourceHandleOp StatsAccumulatorTensorResourceHandleOp
        TensorForestTreeResourceHandleOp VarHandleOp Variable VariableV2 _VarHandlesOp""",
    "only read variables, tables, trees and memory": """
        BoostedTreesExampleDebugOutputs BoostedTreesGetEnsembleStates BoostedTreesPredict
        BoostedTreesQuantileStreamResourceGetBucketBoundaries BoostedTreesSerializeEnsemble BytesInUse BytesLimit
        FeatureUsageCounts FertileStatsIsInitializedOp FertileStatsSerialize GradientTreesPartitionExamples
        GradientTreesPrediction GradientTreesPredictionVerbose IsBoostedTreesEnsembleInitialized
        IsBoostedTreesQuantileStreamResourceInitialized IsVariableInitialized LookupTableExport LookupTableExportV2
        LookupTableFind LookupTableFindV2 LookupTableSize LookupTableSizeV2 MaxBytesInUse
        QuantileAccumulatorGetBuckets QuantileAccumulatorIsInitialized QuantileAccumulatorSerialize ReadVariableOp
        ResourceGather ResourceGatherNd StatsAccumulatorScalarIsInitialized StatsAccumulatorScalarSerialize
        StatsAccumulatorTensorIsInitialized StatsAccumulatorTensorSerialize TensorForestTreeIsInitializedOp
        TensorForestTreePredict TensorForestTreeSerialize TensorForestTreeSize TraverseTreeV4
        TreeEnsembleIsInitializedOp TreeEnsembleSerialize TreeEnsembleStampToken TreeEnsembleStats
        TreeEnsembleUsedHandlers TreeIsInitializedOp TreePredictionsV4 TreeSerialize TreeSize VarIsInitializedOp
        VariableShape _ReadVariablesOp""",
    "pass a reference on to operations that are looked at themselves": """
        RefEnter RefExit RefIdentity RefMerge RefNextIteration RefSelect RefSwitch""",
    "draw at random, and the next draw is as good as this one": """
        AllCandidateSampler BipartiteMatch FixedUnigramCandidateSampler LogUniformCandidateSampler Multinomial
        NonDeterministicInts ParameterizedTruncatedNormal RandomCrop RandomGamma RandomPoisson RandomPoissonV2
        RandomShuffle RandomStandardNormal RandomUniform RandomUniformInt SampleDistortedBoundingBox
        SampleDistortedBoundingBoxV2 SkipGramGenerateCandidates StatelessRandomGetAlg TruncatedNormal
        UniformCandidateSampler""",
    "live within one run": """
        DestroyTemporaryVariable Empty Stack StackClose StackCloseV2 StackPop StackPopV2 StackPush StackPushV2 StackV2
        TemporaryVariable TensorArray TensorArrayClose TensorArrayCloseV3 TensorArrayConcat TensorArrayConcatV3
        TensorArrayGather TensorArrayGatherV3 TensorArrayGrad TensorArrayGradV2 TensorArrayGradV3
        TensorArrayGradWithShape TensorArrayPack TensorArrayRead TensorArrayReadV3 TensorArrayScatter
        TensorArrayScatterV3 TensorArraySize TensorArraySizeV3 TensorArraySplit TensorArraySplitV3
        TensorArrayUnpack TensorArrayV2 TensorArrayV3 TensorArrayWrite TensorArrayWriteV3 TensorListResize""",
    "describe a dataset, which is read by a run from its beginning": """
        CSVDataset CSVDatasetV2 CacheDatasetV2 DatasetToSingleElement ExperimentalCSVDataset
        ExperimentalGroupByReducerDataset ExperimentalLMDBDataset ExperimentalMatchingFilesDataset
        ExperimentalRandomDataset ExperimentalSqlDataset ExperimentalThreadPoolDataset ExperimentalThreadPoolHandle
        FixedLengthRecordDataset FixedLengthRecordDatasetV2 GroupByReducerDataset LMDBDataset ListDataset
        MatchingFilesDataset RandomDataset RangeDataset ReduceDataset SequenceFileDataset ShuffleDatasetV2
        SparseTensorSliceDataset SqlDataset TFRecordDataset TFRecordDatasetV2 TensorDataset TensorSliceDataset
        TextLineDataset ThreadPoolDataset ThreadPoolHandle""",
    "check, print or tell the time": """
        Assert CheckNumerics CheckNumericsV2 DeviceIndex GuaranteeConst Print PrintV2 Timestamp""",
    "read files": "LoadAndRemapMatrix Restore RestoreSlice RestoreV2",
}
REPEATABLE: Final = frozenset(name for names in _BY_REASON.values() for name in names.split())


def state_changing(used: Iterable[str], ops: Mapping[str, OpDef]) -> frozenset[str]:
    """Those among the operation types in `used` that change state.

    Args:
        ops: Every operation that is known, by name; one that is not counts as changing state.
    """
    return frozenset(op for op in used if _changes_state(op, ops))


def _changes_state(op: str, ops: Mapping[str, OpDef]) -> bool:
    definition = ops.get(op)
    if definition is None:
        return True
    if not definition.is_stateful and not any(argument.is_ref for argument in definition.input_arg):
        return False
    return op not in REPEATABLE
