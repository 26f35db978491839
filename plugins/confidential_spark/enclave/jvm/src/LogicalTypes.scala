package confidentialspark

import org.apache.parquet.format.LogicalType

/** What the changed `SchemaElement` asks, see `PatchParquet`. */
object LogicalTypes {

  /** Whether this Parquet has a name for a logical type. */
  def isKnown(logicalType: LogicalType): Boolean = logicalType != null && logicalType.getSetField != null
}
