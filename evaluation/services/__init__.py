"""Verification services as judges (the paper's Fig. 7): they are asked over HTTP whether two pictures show one person.

    signing      signatures of Tencent Cloud and Alibaba Cloud
    credentials  keys and addresses, from the environment or from files that it names
    providers    CompreFace, Face++, Tencent Cloud, Alibaba Cloud: requests and answers
    asking       one question at a time: remembered, no faster and no more than allowed
    table        which pairs are asked, and the figures

Faces leave this machine, so nothing here runs unless somebody names the service. Only CompreFace's interface was run
for real, against `examples.face_verification`. The other three are written from their public documentation and were
never run against the services themselves.
"""
