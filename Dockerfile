# The command line with every extra, from a clone: docker build -t imagenet-captions .
# docker run -v "$PWD:/data" imagenet-captions build --release imagenet_captions.json --out imagenet-captions
FROM python:3.13-slim
RUN apt-get update && apt-get install -y --no-install-recommends git && rm -rf /var/lib/apt/lists/*
COPY . /src
RUN pip install --no-cache-dir "/src[train,cloud,ray]"
WORKDIR /data
ENTRYPOINT ["imagenet-captions"]
