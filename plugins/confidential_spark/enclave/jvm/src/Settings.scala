package confidentialspark

import java.io.IOException
import java.nio.charset.StandardCharsets.UTF_8
import java.nio.file.{Files, Path, Paths}
import java.util.Properties
import org.apache.spark.SparkConf
import scala.collection.JavaConverters._

/** Spark's settings: the agent's, and over them those that are part of what a query means. */
object Settings {
  private val Fixed = Map(
    "spark.sql.session.timeZone" -> "UTC",
    // Stray rows of a year long past are counted as they are; they must not stop the job.
    "spark.sql.parquet.int96RebaseModeInRead" -> "CORRECTED",
    "spark.sql.parquet.datetimeRebaseModeInRead" -> "CORRECTED",
    "spark.sql.parquet.inferTimestampNTZ.enabled" -> "true",
    // Spark reads no time in nanoseconds; `Queries` makes microseconds of the whole numbers.
    "spark.sql.legacy.parquet.nanosAsLong" -> "true",
    "spark.sql.files.ignoreCorruptFiles" -> "false",
    "spark.sql.files.ignoreMissingFiles" -> "false",
    // Otherwise a column that differs from a declared one in its case only makes a file unreadable.
    "spark.sql.caseSensitive" -> "true",
    "spark.sql.ansi.enabled" -> "false",
    "spark.sql.runSQLOnFiles" -> "false",
    "spark.sql.variable.substitute" -> "false",
    "spark.sql.catalogImplementation" -> "in-memory",
    "spark.submit.deployMode" -> "client",
    "spark.ui.enabled" -> "false",
    // Where a file has checksums of its pages.
    "spark.hadoop.parquet.page.verify-checksum.enabled" -> "true",
    // Listed here, in the driver, and not by a job of its own.
    "spark.sql.sources.parallelPartitionDiscovery.threshold" -> "1000000",
    // Larger results would be fetched over a connection, which one process cannot make to itself.
    "spark.task.maxDirectResultSize" -> "1g",
    "spark.rpc.message.maxSize" -> "1024")
  private val OneProcess = "local\\[[1-9][0-9]{0,5}\\]".r
  private val Pods = "k8s://https://.+".r

  /** @throws Refused `argument-invalid` */
  def read(path: Path, job: String): SparkConf = {
    val given = new Properties
    try {
      val reader = Files.newBufferedReader(path, UTF_8)
      try given.load(reader)
      finally reader.close()
    } catch {
      case error @ (_: IOException | _: IllegalArgumentException) =>
        throw Runner.argumentInvalid("--settings", error.toString, "a readable file of properties")
    }
    // In the scratch folder, where Spark would otherwise make it in the present one.
    val warehouse = Paths.get(System.getProperty("java.io.tmpdir"), "warehouse").toUri.toString
    new SparkConf(false)
      .setAll(given.asScala)
      .setAll(Fixed)
      .set("spark.sql.warehouse.dir", warehouse)
      .setAppName(job)
  }

  /** Whether all of Spark is this process.
    *
    * @throws Refused `argument-invalid`: a master that is neither this process nor pods
    */
  def inOneProcess(settings: SparkConf): Boolean = settings.get("spark.master", "") match {
    case OneProcess() => true
    case Pods() => false
    case other => throw Runner.argumentInvalid("spark.master", other, "local[n] or k8s://https://…")
  }
}
