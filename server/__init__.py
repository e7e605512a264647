"""Everything around the domain: webhooks, store, hosts, worker, API and pages."""
