package org.apache.spark

import org.apache.hadoop.conf.Configuration
import org.apache.spark.deploy.SparkHadoopUtil
import org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend
import org.apache.spark.util.ShutdownHookManager

/** What the runner needs and Spark shows to its own package only. */
object SparkInternals {

  /** What Spark itself will open files with. */
  def hadoopConfiguration(settings: SparkConf): Configuration = SparkHadoopUtil.get.newConfiguration(settings)

  /** Whether the process was told to end. */
  def stopping: Boolean = ShutdownHookManager.inShutdown()

  def runExecutor(arguments: Array[String]): Unit = KubernetesExecutorBackend.main(arguments)
}
