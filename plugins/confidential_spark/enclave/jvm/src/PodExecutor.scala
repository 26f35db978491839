package confidentialspark

import org.apache.spark.SparkInternals

/** Spark's executor in a pod, started only behind the gate. */
object PodExecutor {
  def main(arguments: Array[String]): Unit = {
    try Locks.requireGate()
    catch { case refused: Refused => Runner.end(refused) }
    SparkInternals.runExecutor(arguments)
  }
}
