"""dealmail: which of our e-mail belongs to this deal? (Not shipped: only lets static tools see one package.)"""
