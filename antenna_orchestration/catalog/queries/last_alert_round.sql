SELECT extract(epoch FROM now() - looked_at)::float8 AS ago FROM alert_rounds
