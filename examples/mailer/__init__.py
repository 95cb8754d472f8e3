"""Send e-mails through one of several SMTP servers, each once as far as SMTP can know."""
