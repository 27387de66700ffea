SELECT pool, pipeline, seconds FROM pipeline_speeds
