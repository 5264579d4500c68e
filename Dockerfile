# Train in a container: docker build -t minigraph . && docker run -v "$PWD/runs:/work/runs" minigraph
# What comes after the name of the image goes to train_cifar.py, as in: docker run ... minigraph --preset record
FROM python:3.13-slim
RUN apt-get update && apt-get install -y --no-install-recommends graphviz && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN pip install --no-cache-dir ".[train]" && python -m minigraph.examples /work && rm -rf /src
WORKDIR /work
ENTRYPOINT ["python", "train_cifar.py"]
